Rails.application.routes.draw { root 'pages#home' }
