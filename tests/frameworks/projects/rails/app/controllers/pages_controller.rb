class PagesController < ActionController::Base
  def home; end
end
